"""Tree files: text with positions, values, options, child specs, and the program that runs them."""
