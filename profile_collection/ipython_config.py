"""What IPython is to do when it starts from this profile."""

c = get_config()

c.InteractiveShellApp.extensions = ["kv_dict"]  # %md, and key completion
c.TerminalInteractiveShell.prompts_class = "kv_dict.integrations.ipython.MetadataPrompts"
