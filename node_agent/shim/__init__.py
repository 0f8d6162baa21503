"""The commit-shim: the CRI proxy between a kubelet (or the pod driver) and containerd.

It relays raw bytes and intercepts a handful of calls to link uppers and to want saves. It does
nothing slow and keeps no truth in memory: that lies in containerd, the journal and the links.
"""
