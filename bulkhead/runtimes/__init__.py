"""What runs a pod: ``local`` (processes on this machine); ``kubernetes`` has the same four verbs."""
