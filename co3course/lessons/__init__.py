"""What the notebooks show, one module a notebook, named after its topic: the data of its figures, computed once, and plain
functions from data and settings to a matplotlib ``Figure``. ``co3course.widgets`` puts sliders on them."""
