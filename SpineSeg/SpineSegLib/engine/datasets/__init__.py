"""CT and masks as people have them: the layouts of public data sets, one small reader each."""
