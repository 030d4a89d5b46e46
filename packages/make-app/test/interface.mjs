// Whether a bundle is what the interface of its module says.

const FITS = {
  text: (value) => typeof value === 'string',
  email: (value) => /^\S+@\S+$/.test(value),
  url: (value) => /^https?:\/\//.test(value),
  date: (value) => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value),
  integer: Number.isInteger,
  uinteger: (value) => Number.isInteger(value) && value >= 0,
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  any: () => true,
};

/** Everything in the bundle that the interface does not name, or names with another type. */
export function misfits(where, fields, bundle) {
  return Object.entries(bundle).flatMap(([key, value]) => {
    // Events have every member; those that their type never fills are not in the interface.
    if (value === null) return [];
    const field = fields.find((one) => one.name === key);
    return field ? misfit(`${where}.${key}`, field, value) : [`${where}.${key} is not in the interface`];
  });
}

function misfit(where, { type, spec }, value) {
  if (type === 'collection') {
    if (typeof value !== 'object' || Array.isArray(value)) return [`${where} is not a collection`];
    return spec ? misfits(where, spec, value) : [];
  }
  if (type === 'array') {
    if (!Array.isArray(value)) return [`${where} is not an array`];
    return value.flatMap((item) => (Array.isArray(spec) ? misfits(`${where}[]`, spec, item) : misfit(`${where}[]`, spec, item)));
  }
  return FITS[type]?.(value) ? [] : [`${where}: ${JSON.stringify(value)} is not of type ${type}`];
}

/** Every name in the interface that the bundles never carry, not even as null. */
export function missing(where, fields, bundles) {
  return fields.flatMap(({ name, spec }) => {
    const here = `${where}.${name}`;
    if (!bundles.some((bundle) => name in bundle)) return [`${here} is in the interface and in no bundle`];
    const inner = bundles.flatMap((bundle) => bundle[name] ?? []);
    return Array.isArray(spec) && inner.length ? missing(here, spec, inner) : [];
  });
}

/** Names that only the sample or only the real bundle has; where one of them is null or empty, nothing is compared. */
export function differences(where, fields, sample, real) {
  return fields.flatMap(({ name, spec }) => {
    const here = `${where}.${name}`;
    if (name in sample !== name in real) return [`${here} is only in the ${name in sample ? 'sample' : 'real bundle'}`];
    const [one, other] = [sample[name], real[name]].map((value) => (Array.isArray(value) ? value[0] : value));
    return Array.isArray(spec) && one && other ? differences(here, spec, one, other) : [];
  });
}
