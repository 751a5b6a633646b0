// Command apiextensions-apiserver is the Kubernetes API server for custom
// resources, alone, for integration tests.
//
// The tests must see how a real API server answers: its schema validation, its
// /status subresource, its conflicts, its patches, its error bodies. A whole
// cluster is too much for that, and a test double only knows what its author
// knew. So this program links the very code that serves custom resources in a
// cluster and puts two small things of our own around it:
//
//   - who calls is looked up in a file of tokens, and
//   - what a caller may do is looked up in a file of rules,
//
// because the stock server asks another, complete API server for both. The two
// files are read again for every request, so that a test can take a token or a
// right away while a client is at work.
package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	generatedopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	noopoteltrace "go.opentelemetry.io/otel/trace/noop"
)

// etcdPrefix keeps the keys of this server apart from whatever else a test may
// store in the same etcd.
const etcdPrefix = "/registry/vmcp-status-tests"

// flags is the whole command line. Everything else that the stock server lets
// one set stays at its default, because the defaults are what clusters run.
type flags struct {
	etcdServers   string
	port          int
	certDir       string
	tokenFile     string
	authzFile     string
	maxMutating   int
	maxReading    int
	requestPeriod time.Duration
}

func main() {
	var f flags
	flag.StringVar(&f.etcdServers, "etcd-servers", "", "URLs of etcd, with commas between them (required)")
	flag.IntVar(&f.port, "secure-port", 0, "port to serve HTTPS on, on 127.0.0.1; 0 picks a free one")
	flag.StringVar(&f.certDir, "cert-dir", "", "folder for apiserver.crt and apiserver.key, made if they are missing (required)")
	flag.StringVar(&f.tokenFile, "token-auth-file", "", "CSV file of tokens (required)")
	flag.StringVar(&f.authzFile, "authorization-file", "", "JSON file of what each user may do (required)")
	flag.IntVar(&f.maxMutating, "max-mutating-requests-inflight", 200, "writing requests served at a time, more get 429; 0 for no limit")
	flag.IntVar(&f.maxReading, "max-requests-inflight", 400, "reading requests served at a time, more get 429; 0 for no limit")
	flag.DurationVar(&f.requestPeriod, "request-timeout", time.Minute, "time one request may take, more gets 504")

	// The log library brings a dozen flags; only the level is of use here
	// (3 logs every request with its status code).
	logFlags := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(logFlags)
	flag.Var(logFlags.Lookup("v").Value, "v", "log level; 3 shows each request")
	flag.Parse()

	if err := run(genericapiserver.SetupSignalContext(), f); err != nil {
		fmt.Fprintln(os.Stderr, "apiextensions-apiserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, f flags) error {
	for name, value := range map[string]string{
		"etcd-servers":       f.etcdServers,
		"cert-dir":           f.certDir,
		"token-auth-file":    f.tokenFile,
		"authorization-file": f.authzFile,
	} {
		if value == "" {
			return fmt.Errorf("-%s is required", name)
		}
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}

	// Both files are read once before anything is served: a test with a typing
	// error in its rules should fail at the start, and not as a puzzling 403.
	tokens := &reloaded[map[string]user.DefaultInfo]{path: f.tokenFile, parse: parseTokens}
	grants := &reloaded[[]grant]{path: f.authzFile, parse: parseGrants}
	if _, err := tokens.load(); err != nil {
		return err
	}
	if _, err := grants.load(); err != nil {
		return err
	}

	// The socket is opened here, and not by the library, so that port 0 works
	// and nothing but this machine can ever reach a server with such weak
	// credentials.
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", f.port))
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port

	config, err := newConfig(f, listener, port, tokens, grants)
	if err != nil {
		return err
	}
	completed := config.Complete()
	// In a cluster another server in front of this one answers /apis. There is
	// none here, and clients that look for their resource start at that path.
	completed.GenericConfig.EnableDiscovery = true

	server, err := completed.New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return err
	}
	announceGroups(server)
	// The stock server gives clients as long as a request may take, a minute,
	// to close their connections. Open watches never do, and a test that stops
	// the server is waiting.
	server.GenericAPIServer.ShutdownTimeout = 2 * time.Second

	server.GenericAPIServer.AddPostStartHookOrDie("print-address", func(genericapiserver.PostStartHookContext) error {
		// The only line on standard output: a test that asked for port 0 reads
		// its port from here.
		fmt.Printf("https://127.0.0.1:%d\n", port)
		return nil
	})
	return server.GenericAPIServer.PrepareRun().RunWithContext(ctx)
}

// newConfig puts together what the stock server's own options would, less the
// parts that need a cluster: delegated authentication and authorization, the
// client for core resources, and the admission plugins.
func newConfig(
	f flags,
	listener net.Listener,
	port int,
	tokens *reloaded[map[string]user.DefaultInfo],
	grants *reloaded[[]grant],
) (*apiserver.Config, error) {
	generic := genericapiserver.NewRecommendedConfig(apiserver.Codecs)

	running := genericoptions.NewServerRunOptions()
	running.MaxMutatingRequestsInFlight = f.maxMutating
	running.MaxRequestsInFlight = f.maxReading
	running.RequestTimeout = f.requestPeriod
	running.AdvertiseAddress = net.IPv4(127, 0, 0, 1)
	if err := running.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	if errs := running.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := running.ApplyTo(&generic.Config); err != nil {
		return nil, err
	}

	etcd := genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig(
		etcdPrefix,
		apiserver.Codecs.LegacyCodec(v1beta1.SchemeGroupVersion, apiextensionsv1.SchemeGroupVersion),
	))
	etcd.StorageConfig.Transport.ServerList = strings.Split(f.etcdServers, ",")
	if errs := etcd.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := etcd.ApplyTo(&generic.Config); err != nil {
		return nil, err
	}

	serving := genericoptions.NewSecureServingOptions()
	serving.Listener = listener
	serving.BindPort = port
	serving.BindAddress = net.IPv4(127, 0, 0, 1)
	serving.ServerCert.CertDirectory = f.certDir
	serving.ServerCert.PairName = "apiserver"
	if err := serving.MaybeDefaultWithSelfSignedCerts("localhost", nil, nil); err != nil {
		return nil, err
	}
	if err := serving.WithLoopback().ApplyToConfig(&generic.Config); err != nil {
		return nil, err
	}

	enabled := genericoptions.NewAPIEnablementOptions()
	if err := enabled.ApplyTo(&generic.Config, apiserver.DefaultAPIResourceConfigSource(), apiserver.Scheme); err != nil {
		return nil, err
	}

	generic.Authentication.Authenticator = group.NewAuthenticatedGroupAdder(bearertoken.New(tokenAuthenticator{tokens}))
	generic.Authorization.Authorizer = ruleAuthorizer{grants}
	// An empty chain, and not none at all: with none the server also skips a
	// check of its own, that of managedFields sent by clients.
	generic.AdmissionControl = admission.NewChainHandler()

	// Server-side apply of custom resource definitions needs the schemas, and
	// clients may ask for them.
	namer := openapinamer.NewDefinitionNamer(apiserver.Scheme)
	generic.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	generic.OpenAPIConfig.Info.Title = "apiextensions-apiserver"
	generic.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	generic.OpenAPIV3Config.Info.Title = "apiextensions-apiserver"

	return &apiserver.Config{
		GenericConfig: generic,
		ExtraConfig: apiserver.ExtraConfig{
			CRDRESTOptionsGetter: crdoptions.NewCRDRESTOptionsGetter(*etcd, generic.ResourceTransformers, generic.StorageObjectCountTracker),
			// Conversion webhooks given by URL work; those given by a Service
			// cannot, as there are no Services.
			ServiceResolver:     webhook.NewDefaultServiceResolver(),
			AuthResolverWrapper: webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, generic.LoopbackClientConfig, noopoteltrace.NewTracerProvider()),
		},
	}, nil
}

// announceGroups keeps the list at /apis in step with the established custom
// resource definitions.
func announceGroups(server *apiserver.CustomResourceDefinitions) {
	definitions := server.Informers.Apiextensions().V1().CustomResourceDefinitions()
	manager := server.GenericAPIServer.DiscoveryGroupManager
	announced := map[string]bool{}

	// All events of one handler come from one goroutine, so the map needs no
	// lock.
	update := func() {
		all, err := definitions.Lister().List(labels.Everything())
		if err != nil {
			klog.ErrorS(err, "cannot list the custom resource definitions")
			return
		}
		versions := map[string][]string{}
		for _, definition := range all {
			if !established(definition) {
				continue
			}
			name := definition.Spec.Group
			for _, version := range definition.Spec.Versions {
				if version.Served && !slices.Contains(versions[name], version.Name) {
					versions[name] = append(versions[name], version.Name)
				}
			}
		}
		for name := range announced {
			if len(versions[name]) == 0 {
				manager.RemoveGroup(name)
				delete(announced, name)
			}
		}
		for name, names := range versions {
			if len(names) == 0 {
				continue
			}
			// Newest first, as every API server orders them.
			slices.SortFunc(names, func(a, b string) int { return utilversion.CompareKubeAwareVersionStrings(b, a) })
			entry := metav1.APIGroup{Name: name}
			for _, version := range names {
				entry.Versions = append(entry.Versions, metav1.GroupVersionForDiscovery{
					GroupVersion: name + "/" + version,
					Version:      version,
				})
			}
			entry.PreferredVersion = entry.Versions[0]
			manager.AddGroup(entry)
			announced[name] = true
		}
	}

	server.GenericAPIServer.AddPostStartHookOrDie("announce-groups", func(genericapiserver.PostStartHookContext) error {
		_, err := definitions.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { update() },
			UpdateFunc: func(any, any) { update() },
			DeleteFunc: func(any) { update() },
		})
		return err
	})
}

func established(definition *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(definition.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// reloaded is the parsed content of a file that may change at any time.
//
// The files are a few hundred bytes, so each load reads the file again instead
// of trusting its modification time, which two quick writes can share.
type reloaded[T any] struct {
	path  string
	parse func([]byte) (T, error)

	mutex  sync.Mutex
	raw    []byte
	loaded bool
	value  T
}

// load gives the file's present content. When that cannot be read or parsed, it
// gives the last good content along with the error.
func (r *reloaded[T]) load() (T, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	raw, err := os.ReadFile(r.path)
	if err != nil {
		return r.value, err
	}
	if r.loaded && bytes.Equal(raw, r.raw) {
		return r.value, nil
	}
	value, err := r.parse(raw)
	if err != nil {
		return r.value, fmt.Errorf("%s: %w", r.path, err)
	}
	r.raw, r.value, r.loaded = raw, value, true
	return value, nil
}

// current is load for use while serving. A broken file is logged and otherwise
// ignored: turning every caller away would look to a test like the very answer
// it may be waiting for.
func (r *reloaded[T]) current() T {
	value, err := r.load()
	if err != nil {
		klog.ErrorS(err, "keeping the last good content", "file", r.path)
	}
	return value
}

// parseTokens reads lines of token,user,uid,"group,group". The groups may be
// left out.
func parseTokens(raw []byte) (map[string]user.DefaultInfo, error) {
	reader := csv.NewReader(bytes.NewReader(raw))
	reader.FieldsPerRecord = -1
	reader.Comment = '#'
	tokens := map[string]user.DefaultInfo{}
	for {
		record, err := reader.Read()
		if err == io.EOF {
			return tokens, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := reader.FieldPos(0)
		if len(record) < 3 || len(record) > 4 {
			return nil, fmt.Errorf("line %d has %d columns, want token,user,uid or token,user,uid,\"groups\"", line, len(record))
		}
		if record[0] == "" || record[1] == "" {
			return nil, fmt.Errorf("line %d has an empty token or user", line)
		}
		if _, twice := tokens[record[0]]; twice {
			return nil, fmt.Errorf("line %d has a token that an earlier line has too", line)
		}
		info := user.DefaultInfo{Name: record[1], UID: record[2]}
		if len(record) == 4 && record[3] != "" {
			info.Groups = strings.Split(record[3], ",")
		}
		tokens[record[0]] = info
	}
}

// tokenAuthenticator knows callers by the file of tokens. Saying "not known"
// for everything else makes the server answer 401, also to a request without
// any token.
type tokenAuthenticator struct {
	tokens *reloaded[map[string]user.DefaultInfo]
}

func (a tokenAuthenticator) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	info, known := a.tokens.current()[token]
	if !known {
		return nil, false, nil
	}
	return &authenticator.Response{User: &info}, true, nil
}

// grant is one entry of the rules file.
type grant struct {
	// User is the user's name, or "*" for every user with a known token.
	User  string `json:"user"`
	Rules []rule `json:"rules"`
}

// rule has the fields, and the meaning, of a rule in a Kubernetes Role, so that
// a test can give its user exactly what the shipped manifests give. "*" stands
// for everything in any of them.
type rule struct {
	Verbs           []string `json:"verbs"`
	APIGroups       []string `json:"apiGroups"`
	Resources       []string `json:"resources"`
	ResourceNames   []string `json:"resourceNames"`
	NonResourceURLs []string `json:"nonResourceURLs"`
	// Namespaces is not a field of a Role, which gets its namespace from its
	// binding. Left out, the rule holds in all of them.
	Namespaces []string `json:"namespaces"`
}

// parseGrants refuses unknown fields: a misspelt one would otherwise widen or
// narrow a rule in silence.
func parseGrants(raw []byte) ([]grant, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	var grants []grant
	if err := decoder.Decode(&grants); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the list")
	}
	for i, g := range grants {
		if g.User == "" {
			return nil, fmt.Errorf("entry %d has no user", i)
		}
	}
	return grants, nil
}

// ruleAuthorizer allows what the rules file names, and everything to members of
// system:masters, which the server's own loopback client belongs to.
type ruleAuthorizer struct {
	grants *reloaded[[]grant]
}

func (a ruleAuthorizer) Authorize(_ context.Context, request authorizer.Attributes) (authorizer.Decision, string, error) {
	caller := request.GetUser()
	if caller == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	if slices.Contains(caller.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	for _, g := range a.grants.current() {
		if g.User != "*" && g.User != caller.GetName() {
			continue
		}
		for _, r := range g.Rules {
			if r.covers(request) {
				return authorizer.DecisionAllow, "", nil
			}
		}
	}
	// No reason is given, as a cluster gives none: the server then words the
	// 403 just as a cluster words it.
	return authorizer.DecisionNoOpinion, "", nil
}

func (r rule) covers(request authorizer.Attributes) bool {
	if !has(r.Verbs, request.GetVerb()) {
		return false
	}
	if !request.IsResourceRequest() {
		return slices.ContainsFunc(r.NonResourceURLs, func(pattern string) bool {
			prefix, isPrefix := strings.CutSuffix(pattern, "*")
			return pattern == request.GetPath() || isPrefix && strings.HasPrefix(request.GetPath(), prefix)
		})
	}
	resource, all := request.GetResource(), "*"
	if subresource := request.GetSubresource(); subresource != "" {
		resource, all = resource+"/"+subresource, "*/"+subresource
	}
	return has(r.APIGroups, request.GetAPIGroup()) &&
		(has(r.Resources, resource) || slices.Contains(r.Resources, all)) &&
		(len(r.ResourceNames) == 0 || has(r.ResourceNames, request.GetName())) &&
		(len(r.Namespaces) == 0 || has(r.Namespaces, request.GetNamespace()))
}

func has(list []string, value string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, value)
}
