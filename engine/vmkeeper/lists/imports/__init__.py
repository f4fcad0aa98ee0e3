"""What an organisation has (HEPiX lists, vmcaster's data, comfy's descriptions) as documents of a repository. Pure: bytes to documents and notes."""
