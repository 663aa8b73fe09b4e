"""Labels and splits that lie beside images: folder layouts, tables, class names, taxonomies."""
