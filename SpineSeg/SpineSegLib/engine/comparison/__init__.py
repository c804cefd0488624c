"""How good a segmentation is: metrics, agreement, statistics and the report that shows them."""
