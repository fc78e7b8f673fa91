"""
The documentation as a site: ``python -m website`` (``make docs``) builds it in build/site.

README.md and the pages in docs/ are written to be read in the repository; this makes a site of them without writing
anything twice. `pages` lays them out as one folder of Markdown, MkDocs with Material makes HTML (`mkdocs.yml`),
`scripts` brings what that would fetch from a CDN, and `outward` sees to it that nobody who looks at a page fetches
anything from elsewhere.
"""
