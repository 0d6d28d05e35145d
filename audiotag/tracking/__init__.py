"""Where a run can be watched besides its own files: a class per service, a leaf of the configuration each."""
