"""The Streamlit app: views of a finished run, read as needed; the only thing it writes are reviewers' decisions, and previews that are missing.

`app` names the pages; `views` holds one module per page; `review` is what they share to look at findings and decide; `queue` is the list that is
reviewed, without any drawing; `pictures` fetches images, of rows that the run lists only; `text` makes other people's text safe to show.
"""
