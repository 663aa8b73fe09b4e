"""The Streamlit app: pages of a finished run. It writes only decisions, missing previews and the map.

`command` and `server` start the app; `app` lists the pages; `views` has one module per page; `components` has their shared parts; `state` holds the
session. The review runs in the browser: `panel` is its script, `api` answers it.
"""
