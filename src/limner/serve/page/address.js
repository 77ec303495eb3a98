// The settings in the page's address, so that a link shows them again. What stands at its default is left out.

/** The settings that an address holds, as far as they are ones. */
export function read(names) {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(names.filter((name) => given.has(name)).map((name) => [name, given.get(name)]));
}

export function write(settings) {
  const query = new URLSearchParams(settings).toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}
