"""What every report is made of: documents, tables, charts, images, statistics, formatting.

The kit knows nothing of runs: reports turn a run into blocks of a document (document.py), and
markdown.py and html.py write any document.
"""
