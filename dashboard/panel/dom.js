/** Make elements. Text is always text: names and classes of a dataset may contain markup. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name === 'style') Object.entries(value).forEach(([rule, set]) => element.style.setProperty(rule, set));
    else if (['value', 'checked', 'disabled', 'open'].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ''));
  return element;
}

/** Shorten a name in the middle, where paths differ least. */
export function short(text, length) {
  if (text.length <= length) return text;
  const head = Math.floor(((length - 1) * 2) / 5);
  return `${text.slice(0, head)}…${text.slice(text.length - (length - 1 - head))}`;
}

export const number = (value) => value.toLocaleString('en-US');
