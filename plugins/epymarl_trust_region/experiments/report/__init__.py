"""`epymarl-tr report`: tables, pictures and a page from the folders of completed runs (docs/report.md)."""
