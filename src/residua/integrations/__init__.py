"""Optional dependencies: one module for each.

A command imports its module when it runs; nothing else imports from here.
"""
