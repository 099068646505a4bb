"""lava-dl's ``.net`` files, read and written."""
