BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE hpo_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT hpo_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "hpo_alembic_version" VALUES('0005');
CREATE TABLE hpo_epoch (
	trial_id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	learning_rate DOUBLE, 
	seconds DOUBLE NOT NULL, 
	samples_per_s DOUBLE, 
	attempt INTEGER NOT NULL, 
	reported_at DATETIME NOT NULL, 
	PRIMARY KEY (trial_id, epoch), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
INSERT INTO "hpo_epoch" VALUES(1,1,'{"val_accuracy": 0.48, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:44.972214');
INSERT INTO "hpo_epoch" VALUES(1,2,'{"val_accuracy": 0.49, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.012120');
INSERT INTO "hpo_epoch" VALUES(1,3,'{"val_accuracy": 0.5, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.031360');
INSERT INTO "hpo_epoch" VALUES(1,4,'{"val_accuracy": 0.49, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.037734');
INSERT INTO "hpo_epoch" VALUES(2,1,'{"val_accuracy": 0.88, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.157426');
INSERT INTO "hpo_epoch" VALUES(2,2,'{"val_accuracy": 0.89, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.159983');
INSERT INTO "hpo_epoch" VALUES(3,1,'{"val_accuracy": 0.73, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.242511');
INSERT INTO "hpo_epoch" VALUES(3,2,'{"val_accuracy": 0.74, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.257409');
INSERT INTO "hpo_epoch" VALUES(3,3,'{"val_accuracy": 0.75, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.260172');
INSERT INTO "hpo_epoch" VALUES(3,4,'{"val_accuracy": 0.74, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.278674');
INSERT INTO "hpo_epoch" VALUES(4,1,'{"val_accuracy": 0.08, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.380194');
INSERT INTO "hpo_epoch" VALUES(4,2,'{"val_accuracy": 0.09000000000000001, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.395346');
INSERT INTO "hpo_epoch" VALUES(5,1,'{"val_accuracy": 0.605, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.500021');
INSERT INTO "hpo_epoch" VALUES(5,2,'{"val_accuracy": 0.615, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.510829');
INSERT INTO "hpo_epoch" VALUES(5,3,'{"val_accuracy": 0.625, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.529768');
INSERT INTO "hpo_epoch" VALUES(5,4,'{"val_accuracy": 0.615, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.544292');
INSERT INTO "hpo_epoch" VALUES(6,1,'{"val_accuracy": 0.08, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.626536');
INSERT INTO "hpo_epoch" VALUES(6,2,'{"val_accuracy": 0.09000000000000001, "train_loss": NaN}',0.1,0.01,100000.0,1,'2026-11-27 19:58:45.637680');
CREATE TABLE hpo_event (
	event_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	study_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	worker_id INTEGER, 
	kind VARCHAR(32) NOT NULL, 
	message TEXT NOT NULL, 
	PRIMARY KEY (event_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE, 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE
);
INSERT INTO "hpo_event" VALUES(1,'2026-11-27 19:58:45.051569',1,1,1,'complete','');
INSERT INTO "hpo_event" VALUES(2,'2026-11-27 19:58:45.170837',1,2,1,'pruned','');
INSERT INTO "hpo_event" VALUES(3,'2026-11-27 19:58:45.304748',1,3,1,'complete','');
INSERT INTO "hpo_event" VALUES(4,'2026-11-27 19:58:45.414705',1,4,1,'user_code','Traceback (most recent call last):
  File x
ValueError: broken on purpose
');
INSERT INTO "hpo_event" VALUES(5,'2026-11-27 19:58:45.547163',1,5,1,'complete','');
CREATE TABLE hpo_last_id (
	name VARCHAR(64) NOT NULL, 
	last_id INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE hpo_lease (
	trial_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	worker_id INTEGER, 
	token BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	epoch_stop INTEGER NOT NULL, 
	checkpoint TEXT, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE, 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE, 
	FOREIGN KEY(worker_id) REFERENCES hpo_worker (worker_id) ON DELETE SET NULL
);
INSERT INTO "hpo_lease" VALUES(6,1,1,1795809524603350,1,2,4,NULL,'2026-11-27 19:58:45.637680');
CREATE TABLE hpo_stack (
	signature VARCHAR(64) NOT NULL, 
	device VARCHAR(128) NOT NULL, 
	lanes INTEGER NOT NULL, 
	measured_at DATETIME NOT NULL, 
	slowdown DOUBLE, 
	PRIMARY KEY (signature, device)
);
CREATE TABLE hpo_study (
	study_id INTEGER NOT NULL, 
	spec TEXT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT, 
	base_dir TEXT, 
	n_trials INTEGER, 
	epochs INTEGER, 
	total_epochs BIGINT, 
	deadline_at DATETIME, 
	target DOUBLE, 
	trial_hours DOUBLE, 
	epochs_spent BIGINT NOT NULL, 
	last_token BIGINT NOT NULL, 
	prior TEXT, 
	patience INTEGER, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (study_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "hpo_study" VALUES(1,'name = "digits"
task = "digits-mlp"
metric = "val_accuracy"
direction = "maximize"

[budget]
trials = 10
epochs = 4

[space]
learning_rate = { low = 0.0001, high = 1.0, log = true }
width = { choices = [32, 64] }
depth = { low = 1, high = 4 }
optimizer = "sgd"
','fa5af59d472d9bc40393792cf9f2ee295ca0e6c2c205204e58c3818e71ae7bfe','active',NULL,'/data',10,4,NULL,NULL,NULL,NULL,16,1795809524603350,NULL,NULL,'2026-11-27 19:58:44.603344','2026-11-27 19:58:44.603344');
CREATE TABLE hpo_suggestion (
	suggestion_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	worker_id INTEGER, 
	at DATETIME NOT NULL, 
	record TEXT NOT NULL, 
	PRIMARY KEY (suggestion_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "hpo_suggestion" VALUES(1,1,1,'2026-11-27 19:58:45.639124','{}');
CREATE TABLE hpo_worker (
	worker_id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	machine VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	pid_started_at DOUBLE NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	versions TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	heartbeat_at DATETIME NOT NULL, 
	heard_since DATETIME NOT NULL, 
	ended_at DATETIME, 
	lanes INTEGER, 
	lane_epochs BIGINT, 
	stack_epochs BIGINT, 
	PRIMARY KEY (worker_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id) ON DELETE CASCADE
);
INSERT INTO "hpo_worker" VALUES(1,1,'host','machine',1,1.88471000003814697261e+03,'cpu','{"python": "3.11.7", "hpo": "0.1.0", "torch": "2.13.0+cpu", "optuna": "5.0.0", "sqlalchemy": "2.1.9"}','2026-11-27 19:58:44.709697','2026-11-27 19:58:45.581490','2026-11-27 19:58:44.709697',NULL,NULL,NULL,NULL);
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'digits');
INSERT INTO "studies" VALUES(2,'infinite');
INSERT INTO "studies" VALUES(3,'two');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MINIMIZE',2,0);
INSERT INTO "study_directions" VALUES(3,'MINIMIZE',3,0);
INSERT INTO "study_directions" VALUES(4,'MAXIMIZE',3,1);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'hpo:given_budget','{"trials": 10, "epochs": 4}');
INSERT INTO "study_system_attributes" VALUES(2,3,'study:metric_names','["cost", "gain"]');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,1,0.48,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,2,0.49,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,3,0.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,1,4,0.49,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,2,1,0.88,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,2,2,0.89,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,3,1,0.73,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,3,2,0.74,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,3,3,0.75,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,3,4,0.74,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,4,1,0.08,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,4,2,9.00000000000000105471e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,5,1,0.605,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,5,2,0.615,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,5,3,0.625,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,5,4,0.615,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,6,1,0.08,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,6,2,9.00000000000000105471e-02,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'learning_rate',0.443132118800857,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'width',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(3,1,'depth',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(4,2,'learning_rate',1.45911017240067100372e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(5,2,'width',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(6,2,'depth',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(7,3,'learning_rate',1.35673173774514488343e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(8,3,'width',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(9,3,'depth',2.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(10,4,'learning_rate',4.2904970575193587378e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(11,4,'width',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(12,4,'depth',1.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(13,5,'learning_rate',2.95605774937566752932e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(14,5,'width',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(15,5,'depth',3.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(16,6,'learning_rate',1.24717263907141292719e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 1.0, "log": true}}');
INSERT INTO "trial_params" VALUES(17,6,'width',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": [32, 64]}}');
INSERT INTO "trial_params" VALUES(18,6,'depth',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 1, "high": 4}}');
INSERT INTO "trial_params" VALUES(19,10,'x',0.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(20,11,'x',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(21,12,'x',1.0,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,10,'fixed_params','{"x": 0.0}');
INSERT INTO "trial_system_attributes" VALUES(2,11,'fixed_params','{"x": 0.5}');
INSERT INTO "trial_system_attributes" VALUES(3,12,'fixed_params','{"x": 1.0}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'test_accuracy','0.5');
INSERT INTO "trial_user_attributes" VALUES(2,1,'best_epoch','3');
INSERT INTO "trial_user_attributes" VALUES(3,3,'test_accuracy','0.75');
INSERT INTO "trial_user_attributes" VALUES(4,3,'best_epoch','3');
INSERT INTO "trial_user_attributes" VALUES(5,5,'test_accuracy','0.625');
INSERT INTO "trial_user_attributes" VALUES(6,5,'best_epoch','3');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.5,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,0.9,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,0.75,'FINITE');
INSERT INTO "trial_values" VALUES(4,5,0,0.625,'FINITE');
INSERT INTO "trial_values" VALUES(5,7,0,NULL,'INF_POS');
INSERT INTO "trial_values" VALUES(6,8,0,1.0,'FINITE');
INSERT INTO "trial_values" VALUES(7,9,0,NULL,'INF_NEG');
INSERT INTO "trial_values" VALUES(8,10,0,0.0,'FINITE');
INSERT INTO "trial_values" VALUES(9,10,1,0.0,'FINITE');
INSERT INTO "trial_values" VALUES(10,11,0,0.5,'FINITE');
INSERT INTO "trial_values" VALUES(11,11,1,1.0,'FINITE');
INSERT INTO "trial_values" VALUES(12,12,0,1.0,'FINITE');
INSERT INTO "trial_values" VALUES(13,12,1,0.5,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-27 19:58:44.744647','2026-11-27 19:58:45.051569');
INSERT INTO "trials" VALUES(2,1,1,'PRUNED','2026-11-27 19:58:45.097680','2026-11-27 19:58:45.170837');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-27 19:58:45.197813','2026-11-27 19:58:45.304748');
INSERT INTO "trials" VALUES(4,3,1,'FAIL','2026-11-27 19:58:45.328578','2026-11-27 19:58:45.414705');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-27 19:58:45.460479','2026-11-27 19:58:45.547163');
INSERT INTO "trials" VALUES(6,5,1,'RUNNING','2026-11-27 19:58:45.581490',NULL);
INSERT INTO "trials" VALUES(7,0,2,'COMPLETE','2026-11-27 19:58:47.579421','2026-11-27 19:58:47.735992');
INSERT INTO "trials" VALUES(8,1,2,'COMPLETE','2026-11-27 19:58:47.971064','2026-11-27 19:58:48.037408');
INSERT INTO "trials" VALUES(9,2,2,'COMPLETE','2026-11-27 19:58:48.111942','2026-11-27 19:58:48.173621');
INSERT INTO "trials" VALUES(10,0,3,'COMPLETE','2026-11-27 19:58:48.369695','2026-11-27 19:58:48.470068');
INSERT INTO "trials" VALUES(11,1,3,'COMPLETE','2026-11-27 19:58:48.564060','2026-11-27 19:58:48.640127');
INSERT INTO "trials" VALUES(12,2,3,'COMPLETE','2026-11-27 19:58:48.747618','2026-11-27 19:58:48.844957');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
CREATE INDEX ix_hpo_worker_study_id ON hpo_worker (study_id);
CREATE INDEX ix_hpo_event_trial_id ON hpo_event (trial_id);
CREATE INDEX ix_hpo_event_study_id ON hpo_event (study_id);
CREATE INDEX ix_hpo_suggestion_study_id ON hpo_suggestion (study_id);
CREATE INDEX ix_hpo_lease_worker_id ON hpo_lease (worker_id);
CREATE INDEX ix_hpo_lease_study_id_worker_id ON hpo_lease (study_id, worker_id);
CREATE TRIGGER hpo_study_deleted AFTER DELETE ON studies BEGIN DELETE FROM trials WHERE study_id = OLD.study_id; DELETE FROM study_directions WHERE study_id = OLD.study_id; DELETE FROM study_user_attributes WHERE study_id = OLD.study_id; DELETE FROM study_system_attributes WHERE study_id = OLD.study_id; DELETE FROM hpo_lease WHERE study_id = OLD.study_id; DELETE FROM hpo_event WHERE study_id = OLD.study_id; DELETE FROM hpo_suggestion WHERE study_id = OLD.study_id; DELETE FROM hpo_worker WHERE study_id = OLD.study_id; DELETE FROM hpo_study WHERE study_id = OLD.study_id; INSERT INTO hpo_last_id (name, last_id) VALUES ('studies', OLD.study_id) ON CONFLICT (name) DO UPDATE SET last_id = max(last_id, excluded.last_id); END;
CREATE TRIGGER hpo_trial_deleted AFTER DELETE ON trials BEGIN DELETE FROM trial_params WHERE trial_id = OLD.trial_id; DELETE FROM trial_values WHERE trial_id = OLD.trial_id; DELETE FROM trial_intermediate_values WHERE trial_id = OLD.trial_id; DELETE FROM trial_heartbeats WHERE trial_id = OLD.trial_id; DELETE FROM trial_user_attributes WHERE trial_id = OLD.trial_id; DELETE FROM trial_system_attributes WHERE trial_id = OLD.trial_id; DELETE FROM hpo_lease WHERE trial_id = OLD.trial_id; DELETE FROM hpo_epoch WHERE trial_id = OLD.trial_id; DELETE FROM hpo_event WHERE trial_id = OLD.trial_id; INSERT INTO hpo_last_id (name, last_id) VALUES ('trials', OLD.trial_id) ON CONFLICT (name) DO UPDATE SET last_id = max(last_id, excluded.last_id); END;
CREATE TRIGGER hpo_worker_deleted AFTER DELETE ON hpo_worker BEGIN INSERT INTO hpo_last_id (name, last_id) VALUES ('hpo_worker', OLD.worker_id) ON CONFLICT (name) DO UPDATE SET last_id = max(last_id, excluded.last_id); END;
COMMIT;
