"""CenterNet: detection of objects by their centers, as in GTR and FairMOT."""
