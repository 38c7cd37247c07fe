"""Live widgets on Textual's line API: lines are compared, and only those that changed are drawn."""
