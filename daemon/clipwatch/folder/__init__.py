"""Everything that looks at the file system."""
