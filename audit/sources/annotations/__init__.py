"""Labels and splits stored with images: folder layouts, tables, class names, taxonomies."""
