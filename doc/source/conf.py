"""How Sphinx builds these pages: `make docs`, `make man`."""

import importlib.metadata

project = 'backup_framework'
author = 'The backup_framework contributors'
copyright = author
release = version = importlib.metadata.version('backup-framework')

extensions = [
    'cliff.sphinxext',
    'oslo_config.sphinxext',
    'sphinx.ext.autodoc',
]
autodoc_typehints = 'description'

html_theme = 'alabaster'
html_theme_options = {
    'description': 'Backs volumes up to any store',
    'page_width': '1100px',
}

# start page, name, description, authors, section
man_pages = [('cli', 'backup-framework', 'back volumes up to any store', author, 1)]
autoprogram_cliff_application = 'backup-framework'
