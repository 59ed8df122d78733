"""The daemon: wait, pass, report, back off."""
