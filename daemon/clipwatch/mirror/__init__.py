"""Folder against collection: plan, pass, verify, ledger."""
