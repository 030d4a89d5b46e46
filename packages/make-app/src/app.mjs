// What the app consists of. build.mjs writes it down in the layout that the Make Apps SDK expects; what the
// modules put out is taken from the server, so that it is written down once.

const ADDRESS_IS_WRONG = 'This address did not answer as a Goodword server does';

// The server's own words. An answer without them came from something in front of it.
const MESSAGE =
  `[{{statusCode}}] {{ifempty(body.title, '${ADDRESS_IS_WRONG}')}}` +
  "{{if(body.detail, ': ' + body.detail, '')}}{{if(body.next_step, ' ' + body.next_step, '')}}";

const error = (type) => ({ message: MESSAGE, type });
const errors = {
  message: MESSAGE,
  type: 'RuntimeError',
  400: error('DataError'),
  // Make marks the connection as broken and asks for a new key.
  401: error('InvalidAccessTokenError'),
  404: error('DataError'),
  409: error('DataError'),
  422: error('DataError'),
  // These two are tried again by Make.
  429: error('RateLimitError'),
  500: error('ConnectionError'),
  502: error('ConnectionError'),
  503: error('ConnectionError'),
  504: error('ConnectionError'),
};
// Problems are application/problem+json, which need not be known as JSON by itself.
const answers = { type: { '*': 'automatic', '400-499': 'json', 500: 'json', 503: 'json' }, error: errors };
const sanitized = (...more) => ({ sanitize: ['request.headers.x-api-key', ...more] });
const key = (of) => ({ 'x-api-key': `{{${of}.apiKey}}` });

export const base = {
  baseUrl: '{{connection.url}}/v1',
  headers: { ...key('connection'), 'user-agent': 'Goodword for Make' },
  response: answers,
  log: sanitized(),
};

// Nothing of the base is inherited by connections and webhooks.
export const connection = {
  label: 'Goodword',
  params: [
    {
      name: 'url',
      type: 'url',
      label: 'Server address',
      required: true,
      editable: true,
      help: 'Where your Goodword server is reached from the internet. For example, `https://refer.example.com`.',
    },
    {
      name: 'apiKey',
      type: 'password',
      label: 'API key',
      required: true,
      editable: true,
      help: 'A key with the scope `write`: `gw_live_…`, or `gw_test_…` to work on test data only.',
    },
  ],
  communication: {
    url: '{{parameters.url}}/v1/me',
    method: 'GET',
    headers: key('parameters'),
    response: {
      ...answers,
      // What is not Goodword mostly answers with a page, whatever its status.
      type: { '*': 'automatic', 401: 'json', 429: 'json' },
      valid: { condition: '{{body.workspace.id}}', message: `${ADDRESS_IS_WRONG}.`, type: 'InvalidConfigurationError' },
      // A slash at the end of the address would be two in front of what follows.
      data: { url: "{{replace(parameters.url, '/[/]+$/', '')}}" },
      uid: '{{body.workspace.id}}',
      metadata: { type: 'text', value: '{{body.label}}' },
    },
    log: sanitized(),
  },
};

// The test of an endpoint tells of somebody who is made up. It starts no scenario, and cannot be chosen either: which
// events were chosen is nothing that Make's documentation promises the expression to see when a request comes in.
const isNoTest = (event) => `{{${event}.type != 'endpoint.tested'}}`;

// ---- drop-downs

const rpc = (label, url, { qs, iterate = '{{body.data}}', output, params, wrapper, condition, pages = false }) => ({
  label,
  params,
  communication: {
    url,
    method: 'GET',
    ...(condition && { condition }),
    qs: { ...(pages && { limit: 100 }), ...qs },
    response: { iterate, output, limit: 500, ...(wrapper && { wrapper }) },
    ...(pages && { pagination: { condition: '{{body.has_more}}', qs: { cursor: '{{body.next_cursor}}' } } }),
  },
});

const campaignId = { name: 'campaignId', type: 'text', label: 'Campaign ID' };

// The campaign's own fields as parameters. Choices and dates are text, for they are mostly mapped: the server says
// what it expects where something else comes.
const fields = (label, of) =>
  rpc(label, '/campaigns/{{parameters.campaignId}}', {
    params: [campaignId],
    condition: { condition: '{{parameters.campaignId}}', default: [] },
    iterate: `{{body.settings.${of}}}`,
    output: {
      name: '{{item.key}}',
      label: '{{item.label}}',
      type: "{{switch(item.kind, 'number', 'number', 'url', 'url', 'checkbox', 'boolean', 'text')}}",
      required: '{{item.required}}',
      help: "{{if(length(item.options), 'One of: ' + join(item.options, ', ') + '.', if(item.kind = 'date', 'For example, `2026-11-20`.', ignore))}}",
    },
    wrapper: [{ name: 'fields', type: 'collection', label: 'Fields', spec: '{{output}}' }],
  });

export const rpcs = {
  // Every key may ask for the names, also one that only reports.
  listCampaigns: rpc('List campaigns', '/campaigns/names', { pages: true, output: { label: '{{item.name}}', value: '{{item.id}}' } }),
  listRewardDefinitions: rpc('List reward definitions', '/reward-definitions', {
    params: [campaignId],
    pages: true,
    qs: { order: 'asc', campaign_id: '{{parameters.campaignId}}' },
    output: { label: '{{item.name}}', value: '{{item.id}}' },
  }),
  listSources: rpc('List sources', '/statistics/series', {
    qs: { by: 'source' },
    output: { label: '{{item.label}}', value: '{{item.key}}' },
  }),
  listEventTypes: rpc('List event types', '/event-types', {
    iterate: { container: '{{body.data}}', condition: isNoTest('item') },
    output: { label: '{{item.label}}', value: '{{item.type}}' },
  }),
  leadFields: fields('Get the fields of leads', 'lead_fields'),
  referrerFields: fields('Get the fields of referrers', 'referrer_fields'),
};

// ---- parameters

const text = (name, label, more) => ({ name, type: 'text', label, ...more });
const select = (name, label, options, more) => ({ name, type: 'select', label, options, ...more });
const option = (label, value, nested) => ({ label, value, ...(nested && { nested }) });
const date = (name, label, more) => ({ name, type: 'date', label, ...more });
const email = (more) => ({ name: 'email', type: 'email', label: 'Email', ...more });

const campaign = (more) => select('campaignId', 'Campaign', 'rpc://listCampaigns', more);
const campaignWithFields = (of, more) => campaign({ options: { store: 'rpc://listCampaigns', nested: `rpc://${of}` }, ...more });
const source = (label, help) => select('source', label, 'rpc://listSources', { help });
const limit = { name: 'limit', type: 'uinteger', label: 'Limit', required: true, default: 10, help: 'The most that is put out in one run.' };

const id = (what, prefix, from) =>
  text('id', `${what} ID`, { required: true, help: `Map it from another module, such as ${from}. For example, \`${prefix}_01jd3x5w8me4qv9c2t7k6hz0ab\`.` });
const leadId = id('Lead', 'lead', 'Search Leads');
const referrerId = id('Referrer', 'ref', 'Search Referrers');
const rewardId = id('Reward', 'rwd', 'Search Rewards');

const note = text('note', 'Note', { help: 'Kept with the decision.' });
const name = [text('firstName', 'First name'), text('lastName', 'Last name')];
const ownId = text('externalId', 'External ID', { advanced: true, help: 'The ID of the person in your system. It is unique in the campaign.' });
const ownSource = text('source', 'Source', { advanced: true, help: 'Where the person came from. It is `make` when left empty.' });

// How a lead is named. Only what is chosen is sent: a value that was typed under another choice stays in the form.
const NAMED_BY = [
  ['email', 'Email', email({ required: true })],
  ['code', 'Code', text('code', 'Code', { required: true, help: "The lead's own code, not the referrer's." })],
  ['coupon', 'Coupon', text('coupon', 'Coupon', { required: true, help: 'A coupon that the lead was given.' })],
  ['leadExternalId', 'External ID', text('leadExternalId', 'External ID', { required: true })],
  ['leadId', 'Lead ID', text('leadId', 'Lead ID', { required: true })],
];
const namedBy = select('by', 'Find the lead by', NAMED_BY.map(([value, label, param]) => option(label, value, [param])), { required: true, default: 'email' });
const chosen = (by, name) => `{{if(parameters.by = '${by}', parameters.${name ?? by}, ignore)}}`;
const named = {
  email: chosen('email'),
  code: chosen('code'),
  coupon: chosen('coupon'),
  lead_external_id: chosen('leadExternalId'),
  lead_id: chosen('leadId'),
  campaign_id: '{{parameters.campaignId}}',
};
const whichCampaign = campaign({ help: 'Needed where the person is in more than one campaign.' });

const personBody = {
  email: '{{parameters.email}}',
  first_name: '{{parameters.firstName}}',
  last_name: '{{parameters.lastName}}',
  external_id: '{{parameters.externalId}}',
  fields: '{{parameters.fields}}',
};
const addedBody = { ...personBody, campaign_id: '{{parameters.campaignId}}', source: "{{ifempty(parameters.source, 'make')}}" };

// ---- modules

const action = (label, description, actionCrud, output, mappableParams, request) => ({
  label,
  description,
  moduleType: 'action',
  actionCrud,
  output,
  mappableParams,
  communication: { ...request, response: { output: '{{body}}' } },
});
const get = (label, of, output, param, route, suffix = '') =>
  action(label, of, 'read', output, [param], { url: `/${route}/{{parameters.id}}${suffix}`, method: 'GET' });

const update = (label, description, output, param, route, of) =>
  action(
    label,
    description,
    'update',
    output,
    [
      param,
      email(),
      ...name,
      text('externalId', 'External ID', { help: 'The ID of the person in your system. It is unique in the campaign.' }),
      campaignWithFields(of, { help: 'Choose it to see its fields. The person stays in the campaign that they are in.' }),
      {
        name: 'unset',
        type: 'array',
        label: 'Clear',
        spec: { type: 'text' },
        advanced: true,
        help: 'What is to be empty again: `last_name`, `external_id` or `fields.key`. An empty box above changes nothing.',
      },
    ],
    { url: `/${route}/{{parameters.id}}`, method: 'PATCH', body: { ...personBody, unset: '{{parameters.unset}}' } },
  );

const decide = (label, verb, description) =>
  action(label, description, 'update', 'Reward', [rewardId, note], {
    url: `/rewards/{{parameters.id}}/${verb}`,
    method: 'POST',
    body: { note: '{{parameters.note}}' },
  });

const search = (label, description, route, output, filters, qs) => ({
  label,
  description,
  moduleType: 'search',
  output,
  mappableParams: [...filters, date('createdAfter', 'Created after'), limit],
  communication: {
    url: `/${route}`,
    method: 'GET',
    qs: { ...qs, created_after: "{{if(parameters.createdAfter, formatDate(parameters.createdAfter, 'YYYY-MM-DDTHH:mm:ss[Z]', 'UTC'), ignore)}}", limit: 100 },
    response: { iterate: '{{body.data}}', output: '{{item}}', limit: '{{parameters.limit}}' },
    pagination: { condition: '{{body.has_more}}', qs: { cursor: '{{body.next_cursor}}' } },
  },
});
const personFilters = (statuses) => [
  campaign(),
  email(),
  text('code', 'Code'),
  text('externalId', 'External ID'),
  select('status', 'Status', statuses),
  source('Source'),
  text('search', 'Search', { help: 'Part of a name, an address or a code.' }),
];
const personQs = {
  campaign_id: '{{parameters.campaignId}}',
  email: '{{parameters.email}}',
  code: '{{parameters.code}}',
  external_id: '{{parameters.externalId}}',
  status: '{{parameters.status}}',
  source: '{{parameters.source}}',
  search: '{{parameters.search}}',
};

const trigger = (label, description, webhook, output) => ({ label, description, moduleType: 'instant_trigger', webhook, output, communication: {} });
const pairs = (name, label, type, help) => ({
  name,
  type: 'array',
  label,
  help,
  spec: [text('key', 'Key'), { name: 'value', type, label: 'Value' }],
});

export const modules = {
  watchEvents: trigger('Watch Events', 'Triggers when something happens: choose what.', 'events', 'Event'),
  newReferral: trigger('New Referral', 'Triggers when a referrer brings a new lead.', 'newReferral', 'event:lead.created'),
  referralQualified: trigger('Referral Qualified', 'Triggers when a lead is qualified.', 'referralQualified', 'event:lead.qualified'),
  rewardIssued: trigger('Reward Issued', 'Triggers when a reward is issued.', 'rewardIssued', 'event:reward.issued'),

  qualifyReferredUsers: action(
    'Qualify Referred Users',
    'Qualifies a lead, so that the rewards for it fall due.',
    'update',
    'Answer',
    [
      namedBy,
      whichCampaign,
      text('externalId', 'Event ID', { help: 'The ID of the payment, order, deal or answer. The same ID again changes nothing.' }),
      date('occurredAt', 'Date', { help: 'When it happened. It is now when left empty.' }),
      note,
    ],
    {
      url: '/qualifications',
      method: 'POST',
      body: { ...named, external_id: '{{parameters.externalId}}', occurred_at: '{{parameters.occurredAt}}', note: '{{parameters.note}}', source: 'make' },
    },
  ),
  addALead: action(
    'Add a Lead',
    'Adds somebody who was referred. Somebody who is there already is put out as they are.',
    'create',
    'LeadMade',
    [
      select(
        'by',
        'Referred by',
        [
          option("The referrer's code", 'code', [text('code', "The referrer's code", { required: true, help: 'From the referral link.' })]),
          option("The referrer's email", 'referrerEmail', [{ name: 'referrerEmail', type: 'email', label: "The referrer's email", required: true }]),
          option("The referrer's ID", 'referrerId', [text('referrerId', "The referrer's ID", { required: true })]),
        ],
        { required: true, default: 'code' },
      ),
      email({ required: true }),
      ...name,
      campaignWithFields('leadFields', { help: 'Needed where the referrer is named by email. Choose it to see its fields.' }),
      ownId,
      ownSource,
    ],
    {
      url: '/leads',
      method: 'POST',
      body: { ...addedBody, code: chosen('code'), referrer_email: chosen('referrerEmail'), referrer_id: chosen('referrerId') },
    },
  ),
  getALead: get('Get a Lead', 'Returns a lead.', 'Lead', leadId, 'leads'),
  updateALead: update('Update a Lead', 'Changes a lead.', 'Lead', leadId, 'leads', 'leadFields'),
  searchLeads: search(
    'Search Leads',
    'Returns the leads that match, the newest first.',
    'leads',
    'Lead',
    [...personFilters([option('Pending', 'pending'), option('Qualified', 'qualified'), option('Rejected', 'rejected')]), text('referrerId', 'Referrer ID')],
    { ...personQs, referrer_id: '{{parameters.referrerId}}' },
  ),
  explainALead: get('Explain a Lead', 'Returns why a lead is qualified or not, and what is missing.', 'Explanation', leadId, 'leads', '/explanation'),

  addAReferrer: action(
    'Add a Referrer',
    'Adds a referrer and returns the referral link. Somebody who is there already is put out as they are.',
    'create',
    'ReferrerMade',
    [
      campaignWithFields('referrerFields', { required: true }),
      email({ required: true }),
      ...name,
      text('code', 'Code', { advanced: true, help: 'The code in the referral link. One is made when left empty.' }),
      ownId,
      ownSource,
    ],
    { url: '/referrers', method: 'POST', body: { ...addedBody, code: '{{parameters.code}}' } },
  ),
  getAReferrer: get('Get a Referrer', 'Returns a referrer.', 'Referrer', referrerId, 'referrers'),
  updateAReferrer: update('Update a Referrer', 'Changes a referrer.', 'Referrer', referrerId, 'referrers', 'referrerFields'),
  searchReferrers: search(
    'Search Referrers',
    'Returns the referrers that match, the newest first.',
    'referrers',
    'Referrer',
    personFilters([option('Active', 'active'), option('Suspended', 'suspended')]),
    personQs,
  ),

  recordAConversion: action(
    'Record a Conversion',
    "Records an order, invoice or deal of a lead. The campaign's rule decides whether it qualifies the lead.",
    'create',
    'Answer',
    [
      namedBy,
      whichCampaign,
      // Without it a run that Make repeats would count twice.
      text('externalId', 'Order ID', { required: true, help: 'The ID of the order, invoice or deal. The same ID again is not counted twice.' }),
      { name: 'amount', type: 'number', label: 'Amount', help: 'For example, `46.50`.' },
      { name: 'amountMinor', type: 'uinteger', label: 'Amount in cents', help: 'Instead of the amount, for what counts in cents, such as Stripe.' },
      text('currency', 'Currency', { help: 'For example, `EUR`.' }),
      select('kind', 'Kind', [option('Order', 'order'), option('Invoice', 'invoice'), option('Deal', 'deal'), option('Something else', 'custom')], { default: 'order' }),
      date('occurredAt', 'Date', { help: 'When it happened. It is now when left empty.' }),
      text('goal', 'Goal', { advanced: true, help: 'Which of the goals of the campaign it reaches.' }),
      { ...pairs('properties', 'Properties', 'any', "What the condition of the campaign's rule looks at. For example, `plan`."), advanced: true },
    ],
    {
      url: '/conversions',
      method: 'POST',
      body: {
        ...named,
        external_id: '{{parameters.externalId}}',
        amount: '{{parameters.amount}}',
        amount_minor: '{{parameters.amountMinor}}',
        currency: '{{upper(parameters.currency)}}',
        kind: '{{parameters.kind}}',
        occurred_at: '{{parameters.occurredAt}}',
        goal: '{{parameters.goal}}',
        properties: "{{toCollection(parameters.properties, 'key', 'value')}}",
        source: 'make',
      },
    },
  ),

  getAReward: get('Get a Reward', 'Returns a reward and what became of it so far.', 'RewardWithHistory', rewardId, 'rewards'),
  searchRewards: search(
    'Search Rewards',
    'Returns the rewards that match, the newest first.',
    'rewards',
    'Reward',
    [
      campaign(),
      select('definitionId', 'Reward', 'rpc://listRewardDefinitions', { help: 'Which of the rewards of the campaign.' }),
      select('state', 'State', [
        option('Due', 'due'),
        option('On hold', 'on_hold'),
        option('In review', 'in_review'),
        option('Approved', 'approved'),
        option('To issue', 'issuing'),
        option('Issued', 'issued'),
        option('Failed', 'failed'),
        option('Cancelled', 'cancelled'),
        option('Rejected', 'rejected'),
        option('Reversed', 'reversed'),
      ]),
      text('referrerId', 'Referrer ID', { help: 'Rewards that this referrer gets.' }),
      text('leadId', 'Lead ID', { help: 'Rewards that this lead gave cause for.' }),
      text('search', 'Search', { help: 'Part of the coupon, the cause or the note.' }),
    ],
    {
      campaign_id: '{{parameters.campaignId}}',
      definition_id: '{{parameters.definitionId}}',
      state: '{{parameters.state}}',
      referrer_id: '{{parameters.referrerId}}',
      lead_id: '{{parameters.leadId}}',
      search: '{{parameters.search}}',
    },
  ),
  approveAReward: decide('Approve a Reward', 'approve', 'Approves a reward that is due or in review.'),
  issueAReward: decide('Issue a Reward', 'issue', 'Marks an approved reward as issued, or starts issuing it.'),
  rejectAReward: decide('Reject a Reward', 'reject', 'Rejects a reward before it is issued.'),

  makeAnApiCall: {
    label: 'Make an API Call',
    description: 'Performs an arbitrary authorized API call.',
    moduleType: 'universal',
    sample: { body: { data: [], has_more: false, next_cursor: null }, headers: { 'content-type': 'application/json' }, statusCode: 200 },
    output: [
      { name: 'body', type: 'any', label: 'Body' },
      { name: 'headers', type: 'collection', label: 'Headers' },
      { name: 'statusCode', type: 'uinteger', label: 'Status code' },
    ],
    mappableParams: [
      text('url', 'URL', { required: true, help: 'What comes after `/v1/` of your server. For example, `campaigns`. The reference is at `/docs` of your server.' }),
      select('method', 'Method', ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((method) => option(method, method)), { required: true, default: 'GET' }),
      pairs('headers', 'Headers', 'text', 'The API key and the content type are added.'),
      pairs('qs', 'Query string', 'text'),
      text('body', 'Body', { multiline: true, help: 'JSON.' }),
    ],
    communication: {
      url: '/{{parameters.url}}',
      method: '{{parameters.method}}',
      headers: { 'content-type': 'application/json', '{{...}}': "{{toCollection(parameters.headers, 'key', 'value')}}" },
      qs: { '{{...}}': "{{toCollection(parameters.qs, 'key', 'value')}}" },
      body: '{{parameters.body}}',
      type: 'text',
      response: { output: { body: '{{body}}', headers: '{{headers}}', statusCode: '{{statusCode}}' } },
    },
  },
};

export const groups = [
  { label: 'Events', modules: ['watchEvents', 'newReferral', 'referralQualified', 'rewardIssued'] },
  { label: 'Leads', modules: ['qualifyReferredUsers', 'addALead', 'getALead', 'updateALead', 'searchLeads', 'explainALead'] },
  { label: 'Referrers', modules: ['addAReferrer', 'getAReferrer', 'updateAReferrer', 'searchReferrers'] },
  { label: 'Conversions', modules: ['recordAConversion'] },
  { label: 'Rewards', modules: ['getAReward', 'searchRewards', 'approveAReward', 'issueAReward', 'rejectAReward'] },
  { label: 'Other', modules: ['makeAnApiCall'] },
];

// ---- webhooks

// A forged request is refused wherever Make lets the expression see the secret. Its documentation leaves open whether
// the data of the hook is `webhook` or `data` when a request comes in; where it is neither, the address of the hook,
// which nobody knows but Make and the server, is all that protects it. The body's signature cannot be checked: only
// the parsed body is to be had here.
const SECRET = 'ifempty(webhook.secret, data.secret)';
const TOKEN = `sha256(headers.webhook-id + '.' + headers.webhook-timestamp, 'hex', ${SECRET}, 'base64')`;

const ofCampaign = campaign({ help: 'Only what happens in this campaign.' });
const ofSource = source('Source of the person', 'Only people who came from there.');

const webhook = (label, eventTypes, params = [ofCampaign, ofSource], filter = {}) => ({
  label,
  params,
  attach: {
    url: '{{connection.url}}/v1/endpoints',
    method: 'POST',
    headers: key('connection'),
    body: {
      url: '{{webhook.url}}',
      description: `Make: ${label}`,
      event_types: eventTypes,
      campaign_id: '{{parameters.campaignId}}',
      person_source: '{{parameters.source}}',
      ...filter,
      source: 'make',
    },
    response: { ...answers, data: { externalHookId: '{{body.id}}', secret: "{{replace(body.secret, 'whsec_', '')}}" } },
    log: sanitized('response.body.secret'),
  },
  detach: {
    url: '{{connection.url}}/v1/endpoints/{{webhook.externalHookId}}',
    method: 'DELETE',
    headers: key('connection'),
    response: answers,
    log: sanitized(),
  },
  communication: {
    verification: {
      condition: `{{${SECRET} && !contains(ifempty(headers.webhook-token, ''), ${TOKEN})}}`,
      respond: { status: 401, type: 'json', body: { error: 'webhook-token is not that of this endpoint' } },
    },
    condition: isNoTest('body'),
    output: '{{body}}',
  },
});

export const webhooks = {
  events: webhook('Events', '{{parameters.eventTypes}}', [
    select('eventTypes', 'Events', 'rpc://listEventTypes', { multiple: true, required: true }),
    ofCampaign,
    ofSource,
  ]),
  newReferral: webhook('New Referral', ['lead.created']),
  referralQualified: webhook('Referral Qualified', ['lead.qualified']),
  rewardIssued: webhook(
    'Reward Issued',
    ['reward.issued'],
    [ofCampaign, select('rewardDefinitionId', 'Reward', 'rpc://listRewardDefinitions', { help: 'Only this one of the rewards.' }), ofSource],
    { reward_definition_id: '{{parameters.rewardDefinitionId}}' },
  ),
};
