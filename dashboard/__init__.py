"""The Streamlit app: views of a finished run. Not built yet; `imagenet-audit explain` and the run's tables serve until then."""
