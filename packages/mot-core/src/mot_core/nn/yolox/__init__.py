"""YOLOX: backbone, feature pyramid, decoupled head, label assignment and losses."""
