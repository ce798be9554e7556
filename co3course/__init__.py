"""The course on co3lib: what its notebooks start and end with, their figures, widgets and exercises, and how they are run."""
