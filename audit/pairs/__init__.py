"""When two images are the same picture: candidates, verification on pixels, pairs, groups, and the clean split that follows."""
