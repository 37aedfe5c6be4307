"""One module per battery, each with a function ``case(rng, folder)`` that raises if the case fails."""
