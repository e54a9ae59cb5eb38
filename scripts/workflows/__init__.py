"""The pack's workflows, written from short descriptions: `python -m scripts.workflows`."""
