"""OpenNebula over XML-RPC: images, VM templates that bear aliases, and machines."""
