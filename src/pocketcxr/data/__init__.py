"""From folders of X-rays to an index with patients, duplicates and splits; synthetic chest X-rays."""
