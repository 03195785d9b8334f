// Draws the document of the page api-reference with Swagger UI, in a shadow tree: neither's styles reach the other.
(() => {
  const place = document.getElementById("api-reference");
  const root = place.attachShadow({ mode: "open" });
  const styles = ["swagger-ui.css", "api-reference.css"].map((name) =>
    Object.assign(document.createElement("link"), { rel: "stylesheet", href: `assets/${name}` }));
  const inside = document.createElement("div");
  root.append(...styles, inside);

  // The site's colours, which its reader may change while the page is open.
  const colours = () => inside.parentNode.host.classList.toggle(
    "dark-mode", document.body.dataset.mdColorScheme === "slate");
  colours();
  new MutationObserver(colours).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });

  // References are resolved here: Swagger UI would look for them in the page's address, which a file has not.
  const spec = JSON.parse(document.getElementById("openapi").textContent);
  const found = (reference) => reference.slice(2).split("/").reduce((value, name) => value[name], spec);
  const whole = (value) => {
    if (Array.isArray(value)) return value.map(whole);
    if (value === null || typeof value !== "object") return value;
    if (typeof value.$ref === "string") return whole(found(value.$ref));
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, whole(each)]));
  };
  // Swagger UI resolves what it draws, for seconds, even where nothing is left to resolve.
  const resolved = () => ({ fn: { resolveSubtree: async (document, path) =>
    ({ spec: path.reduce((value, name) => value?.[name], document), errors: [] }) } });

  SwaggerUIBundle({
    spec: { ...spec, paths: whole(spec.paths), components: { securitySchemes: spec.components.securitySchemes } },
    domNode: inside,
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [resolved],
    supportedSubmitMethods: [], // nothing is sent from here: the server takes no requests of other sites
    docExpansion: "none",
    defaultModelsExpandDepth: -1,
    defaultModelRendering: "model",
    defaultModelExpandDepth: 4,
    showExtensions: false,
    validatorUrl: null,
  });
})();
