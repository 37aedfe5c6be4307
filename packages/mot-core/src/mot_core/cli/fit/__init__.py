"""The commands `mot fit`, `mot validate`, `mot test` and `mot predict`."""
