"""What the review panel asks the server for: queues, cards, images and decisions. No Streamlit here.

`routes` names the addresses, `desk` holds a run with its cards and decisions, `queues` selects and sorts, `content` describes cards, `typical`
chooses example images, `pictures` reads images, and `decide` stores decisions.
"""
