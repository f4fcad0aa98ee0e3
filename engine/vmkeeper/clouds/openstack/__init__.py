"""OpenStack: images in Glance, machines in Nova."""
