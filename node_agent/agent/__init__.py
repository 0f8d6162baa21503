"""The node agent's own loop: orders in, work, reports out.

Owns when things are done. How a layer is written, an upper removed or a runtime built is the
business of the rooms that `parts` names; what must survive a kill is the journal's.
"""
