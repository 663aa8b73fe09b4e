/** Mount the panel in a Streamlit component; the panel stays when Streamlit draws the page again. */
export default async function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.ia');
  const view = async (file) => import(new URL(`/audit/panel/${file}`, location.origin).href);
  const Panel = data.page === 'map' ? (await view('map.js')).MapView : (await view('panel.js')).Panel;
  const background = getComputedStyle(root).getPropertyValue('--st-background-color').match(/[\da-f]{2}/gi) || [];
  root.classList.toggle('ia-dark', background.slice(0, 3).reduce((sum, part) => sum + parseInt(part, 16), 0) < 384);
  const follow = (link) => setTriggerValue('link', link);
  if (root.panel?.data.page === data.page) root.panel.update(data, follow);
  else {
    root.panel?.stop();
    root.panel = new Panel(root, data, follow);
  }
  const { panel } = root;
  return () => setTimeout(() => { if (!root.isConnected) panel.stop(); }); // Streamlit also calls this before it draws the same component again
}
