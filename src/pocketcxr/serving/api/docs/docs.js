/** Shows the interface as its OpenAPI document describes it, and sends requests to try it. */

const LONGEST = 2000; // characters of a text that are shown
const ROOT = new URL("../", location.href); // the service, wherever a proxy has put it
const FORM = "multipart/form-data";

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== "" && child !== undefined));
  return made;
};
const code = (text) => element("code", { textContent: text });
const shortened = (_, value) =>
  typeof value === "string" && value.length > LONGEST
    ? `${value.slice(0, 60)}… (${value.length.toLocaleString("en")} characters)`
    : value;
const block = (value) =>
  element("pre", { tabIndex: 0, textContent: typeof value === "string" ? value : JSON.stringify(value, shortened, 2) });

/** A schema in words: a name, or what its members are. */
function described(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(described).join(" or ");
  if (schema.type === "array") return `list of ${described(schema.items)}`;
  return [schema.type, schema.format].filter(Boolean).join(", ");
}

function table(head, rows) {
  const line = (cells, kind) => element("tr", {}, ...cells.map((cell) => element(kind, {}, cell)));
  return element(
    "table",
    {},
    element("thead", {}, line(head, "th")),
    element("tbody", {}, ...rows.map((cells) => line(cells, "td"))),
  );
}

/** Examples of an answer: those of its type, else that of its schema. */
function examples(content, schemas) {
  if (content.examples) return Object.entries(content.examples).map(([name, one]) => [name, one.value]);
  if (content.example !== undefined) return [["", content.example]];
  const name = described(content.schema);
  return (schemas[name]?.examples ?? []).slice(0, 1).map((one) => ["", one]);
}

function answers(responses, schemas) {
  return Object.entries(responses).flatMap(([status, response]) =>
    Object.entries(response.content ?? {}).map(([type, content]) =>
      element(
        "details",
        {},
        element("summary", {}, code(status), ` ${response.description} `, element("span", { className: "quiet" }, type)),
        ...examples(content, schemas).flatMap(([name, value]) => [name, block(value)]),
      ),
    ),
  );
}

/** Fields of a request, and a function that makes it of what stands in them. */
function fields(path, operation) {
  const form = element("form");
  const parameters = (operation.parameters ?? []).map((parameter) => {
    const input = element("input", { type: parameter.schema.type === "boolean" ? "checkbox" : "text" });
    form.append(element("label", {}, input, code(parameter.name), ` ${parameter.description ?? ""}`));
    return { name: parameter.name, value: () => (input.type === "checkbox" ? String(input.checked) : input.value) };
  });
  const types = Object.keys(operation.requestBody?.content ?? {});
  const file = element("input", { type: "file", required: true, multiple: true });
  const type = element("select", {}, ...types.map((name) => element("option", { textContent: name })));
  type.addEventListener("change", () => (file.multiple = type.value === FORM));
  if (types.length) form.append(element("label", {}, "Files", file), element("label", {}, "Content type", type));
  form.append(element("button", { textContent: "Send" }));
  const request = () => {
    const url = new URL(path.slice(1), ROOT);
    for (const one of parameters) url.searchParams.set(one.name, one.value());
    if (!types.length) return [url, {}, undefined];
    if (type.value !== FORM) return [url, { "content-type": type.value }, file.files[0]];
    const body = new FormData();
    for (const one of file.files) body.append("files", one);
    return [url, {}, body];
  };
  return { form, request };
}

async function shown(response) {
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("image/")) {
    return element("img", { alt: "the answer", src: URL.createObjectURL(await response.blob()) });
  }
  const text = await response.text();
  return block(type.includes("json") ? JSON.parse(text) : text);
}

function trial(method, path, operation, token) {
  const { form, request } = fields(path, operation);
  const answer = element("div", { ariaLive: "polite" });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [url, headers, body] = request();
    if (token?.value) headers.authorization = `Bearer ${token.value}`;
    answer.replaceChildren("Sending…");
    const began = performance.now();
    try {
      const response = await fetch(url, { method, headers, body });
      const took = Math.round(performance.now() - began);
      const kept = [...response.headers].filter(([name]) => /^(x-request-id|retry-after|content-type)$/.test(name));
      const told = kept.map(([name, value]) => `${name}: ${value}`).join("\n");
      const status = element("p", {}, code(`${response.status}`), ` ${response.statusText}, ${took} ms`);
      answer.replaceChildren(status, block(told), await shown(response));
    } catch (error) {
      answer.replaceChildren(`No answer: ${error.message}`);
    }
  });
  return [element("h3", {}, "Try it"), form, answer];
}

function address(method, path, operation, schemas, token) {
  const parameters = (operation.parameters ?? []).map((one) => [
    code(one.name),
    described(one.schema),
    one.description ?? "",
  ]);
  return element(
    "details",
    { id: operation.operationId },
    element(
      "summary",
      {},
      element("span", { className: "method" }, code(method.toUpperCase())),
      code(path),
      ` ${operation.summary ?? ""}`,
    ),
    element("p", {}, operation.description ?? ""),
    ...(parameters.length ? [element("h3", {}, "Parameters"), table(["name", "type", "what"], parameters)] : []),
    ...trial(method.toUpperCase(), path, operation, token),
    element("h3", {}, "Answers"),
    ...answers(operation.responses, schemas),
  );
}

function members(name, schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([member, value]) => [
    code(member),
    described(value),
    value.description ?? "",
  ]);
  const summary = element("summary", {}, code(name), ` ${schema.description ?? ""}`);
  return element("details", {}, summary, table(["member", "type", "what"], rows));
}

async function main() {
  const about = document.getElementById("about");
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  const found = await response.json();
  const { schemas, securitySchemes } = found.components;
  about.replaceChildren(
    `Version ${found.info.version}. ${found.info.description} As a document: `,
    element("a", { href: "openapi.json", textContent: "openapi.json" }),
  );
  const page = document.getElementById("addresses");
  const token = securitySchemes && element("input", { type: "password", autocomplete: "off" });
  if (token) page.append(element("label", {}, "Token of this service", token));
  const tags = new Map();
  for (const [path, methods] of Object.entries(found.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      tags.set(tag, [...(tags.get(tag) ?? []), address(method, path, operation, schemas, token)]);
    }
  }
  for (const tag of ["pictures", ...tags.keys()]) {
    if (tags.has(tag)) page.append(element("h2", {}, tag), ...tags.get(tag));
    tags.delete(tag);
  }
  page.append(element("h2", {}, "members"), ...Object.entries(schemas).map(([name, one]) => members(name, one)));
}

main().catch((error) => document.getElementById("about").replaceChildren(`Not to be shown: ${error.message}`));
