"""What a user imports: tasks, workflows, contexts, refs and options, and how calls on them become runs."""
