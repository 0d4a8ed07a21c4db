// The interface for programs, drawn from the description that the server gives of it.

import { element } from "./understood.js";

const description = await fetch("/openapi.json").then((answer) => answer.json());
const resolved = (schema) => (schema.$ref ? description.components.schemas[schema.$ref.split("/").at(-1)] : schema);
const kind = (schema) => {
  const own = resolved(schema);
  if (own.anyOf) return own.anyOf.map(kind).filter((one) => one !== "null").join(" or ");
  const bounds = [
    own.minimum !== undefined && `from ${own.minimum}`, own.maximum !== undefined && `to ${own.maximum}`,
    own.maxLength !== undefined && `at most ${own.maxLength} characters`, own.enum && own.enum.join(", "),
  ];
  return [own.type === "array" ? `list of ${kind(own.items ?? {})}` : own.title && own.properties ? own.title : own.type, ...bounds].filter(Boolean).join(" ");
};
const fields = (list) => element("dl", {}, ...list.flatMap(([name, schema, text]) => [
  element("dt", {}, element("code", { textContent: name }), ` ${kind(schema)}`),
  element("dd", { textContent: [text ?? schema.description, schema.default != null && `default ${JSON.stringify(schema.default)}`].filter(Boolean).join("; ") }),
]));
const properties = (schema) => {
  const own = resolved(schema);
  const inner = Object.values(own.properties ?? {}).flatMap((one) => (one.anyOf ?? [one]).filter((part) => part.$ref));
  return [fields(Object.entries(own.properties ?? {}).map(([name, one]) => [name, one])), ...inner.flatMap((part) => [element("h2", { textContent: resolved(part).title }), ...properties(part)])];
};

document.getElementById("example").textContent = `curl -N ${location.origin}/compose -H 'content-type: application/json' \\
     -d '{"text": "a calm piano waltz", "bars": 8, "seed": 7}'          # events; the last piece has an id
curl -o waltz.mid ${location.origin}/pieces/ID.mid
curl '${location.origin}/understand?text=80+bpm,+flute'`;
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, about] of Object.entries(methods)) {
    const body = about.requestBody?.content?.["application/json"]?.schema;
    document.getElementById("paths").append(
      element(
        "article",
        {},
        element("h2", {}, element("code", { textContent: `${method.toUpperCase()} ${path}` })),
        element("p", { textContent: about.description ?? "" }),
        fields((about.parameters ?? []).map((one) => [one.name, one.schema, one.description])),
        ...(body ? properties(body) : []),
      ),
    );
  }
}
document.body.dataset.ready = "yes";
