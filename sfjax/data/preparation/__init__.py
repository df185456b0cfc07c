"""From original downloads, in the layout that providers ship, to one table a task with one row an image."""
