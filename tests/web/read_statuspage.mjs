// Reads a running listener with the npm package statuspage.io, a client of Statuspage's public API.
//
// Usage: node read_statuspage.mjs BASE (for example http://127.0.0.1:7380)
import { strict as assert } from 'node:assert';
import { createRequire } from 'node:module';

const require = createRequire(`${process.cwd()}/`);
const { Statuspage } = require('statuspage.io');

const client = new Statuspage('statusd');
client.apiClient.defaults.baseURL = process.argv[2];

const summary = await client.api.getSummary();
const { components } = await client.api.getComponents();
const { status } = await client.api.getStatus();
const { incidents } = await client.api.incidents.getAll();
const { incidents: unresolved } = await client.api.incidents.getUnresolved();
// This client asks for upcoming.json for all maintenances and for active ones too.
const { scheduled_maintenances: upcoming } = await client.api.scheduledMaintenances.getUpcoming();

assert.deepEqual(summary.components, components);
assert.deepEqual(summary.status, status);
assert.deepEqual(summary.incidents, unresolved);
for (const { id } of upcoming) assert.ok(summary.scheduled_maintenances.some((one) => one.id === id), id);
assert.ok(incidents.length >= unresolved.length);
for (const incident of incidents) assert.ok(incident.incident_updates.length > 0, incident.name);
console.log(status.description, components.map(({ name, status }) => `${name}: ${status}`));
console.log(incidents.map(({ name, status, impact }) => `${name}: ${status}, ${impact}`));
