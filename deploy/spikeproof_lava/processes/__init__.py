"""Lava processes of this project, and nothing else.

Lava executes every Python file in the folder of a Process class each time it compiles a
network, so this folder must hold nothing but processes and their models.
"""
