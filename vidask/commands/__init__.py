"""The commands of `vidask`, one file each."""
