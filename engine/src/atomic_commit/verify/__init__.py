"""What a database that failed over or was restored has forgotten: named to the last row, and run again where asked for.

``verification`` compares, ``peers`` asks, ``background`` does it because another service says so, ``redo`` runs lost
branches again. Knows the rows of both sides, and neither of the two: those who have them are asked.
"""
