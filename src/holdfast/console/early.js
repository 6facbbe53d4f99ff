// Runs before the modules are there: who is signed in, and what the first view shows, are on their way while they are
// loaded. `earlyAnswer` in api.js takes each once; where nothing comes of it, the page asks by itself.

{
  const ask = (path) => fetch(`/admin/v1/${path}`, { headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store" })
    .then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  const isFirst = /^#?\/?(?:now)?$/.test(location.hash);
  globalThis.holdfastEarly = { session: ask("session"), overview: isFirst ? ask("overview") : null };
}
